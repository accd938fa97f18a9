"""What happened, as lines that are only ever added: records, their writer, reader and proof."""
