"""The store: the one seam between this library and S3; public, with a memory store for tests.

Import implementations from their modules; botocore is loaded by the first request of `dtool_s3.store.s3`.
"""
