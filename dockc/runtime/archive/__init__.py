"""Archives: headers, compression."""
