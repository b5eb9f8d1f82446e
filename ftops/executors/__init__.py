"""Where a training runs, and the processes around it: a process of this machine, or a container."""
