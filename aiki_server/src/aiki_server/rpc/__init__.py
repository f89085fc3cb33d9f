"""What goes over the wire: the two services, and the sessions of workers."""
