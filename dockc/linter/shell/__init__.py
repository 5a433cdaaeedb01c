"""Shell scripts inside Dockerfiles: parsing them, and the commands in them."""
