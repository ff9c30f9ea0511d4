"""Shards: images stored as squares for sequential reading from disks and object stores."""
