"""Policy files: found, read, checked and tried out. The daemon loads here what it decides by; the
command line checks and tries it without a daemon."""
