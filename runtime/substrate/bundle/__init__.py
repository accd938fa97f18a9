"""From config.json to checked records; pure apart from reading the bundle's files."""
