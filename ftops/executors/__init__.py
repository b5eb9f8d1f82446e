"""Where a training runs: as a process of this machine or in a container; and the processes around it."""
