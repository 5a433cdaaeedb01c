"""What the core decides is run here: jobs, flights, the loop."""
