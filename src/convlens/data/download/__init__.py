"""Download of public data sets: catalog of archives, transfer and extraction."""
