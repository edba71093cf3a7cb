"""Who runs what is to be done: this process, fresh ones, or a cluster."""
