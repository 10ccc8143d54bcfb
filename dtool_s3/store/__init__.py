"""The store: the one seam between this library and S3; public, with a memory store for tests.

Import implementations from their modules: `dtool_s3.store.s3` loads boto3, `dtool_s3.store.memory` does not.
"""
