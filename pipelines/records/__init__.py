"""Videos as JPEGs in TFRecord shards, which a command writes and which are read by row."""
