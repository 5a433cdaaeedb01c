#!/bin/sh
# Prints the greeting and the words that the image was built with.
echo "$GREETING:"
while read -r word; do
  echo "  $word"
done < /usr/share/hello/words.txt
