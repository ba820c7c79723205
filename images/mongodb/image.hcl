# The embedded MongoDB (FerretDB on SQLite), a part of labctl: there is no image to pull. MongoDB speaks the same protocol elsewhere.
version = "1"
dirs    = ["/data"]
