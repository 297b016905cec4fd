"""Where data lives: a folder of this machine, or any place that fsspec or SFTP reaches."""
