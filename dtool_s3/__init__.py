"""S3 storage broker library for dtool: byte-compatible with upstream dtool-s3, without its data loss.

This module owns the public names; it must stay cheap to import (no boto3, no network).
"""

__version__ = "0.1.0"
