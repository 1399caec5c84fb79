"""Natural speech with timed phones to train the mouth net: texts, synthesis, shards on disk, alignment."""
