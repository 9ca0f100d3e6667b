"""The lab tests itself."""
