"""What ftops knows of Axolotl: its keys, how a config is rendered, and the files that run in its environment."""
