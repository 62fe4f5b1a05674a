"""Plans a run for a folder of videos: what is in it, which flags suit it, and how long they will take."""
