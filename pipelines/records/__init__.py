"""Videos as JPEGs in TFRecord shards: written by a command, read by number."""
