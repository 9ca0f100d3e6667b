"""`make lab`: a shell in a guest, with isod running on its virtual hardware."""
