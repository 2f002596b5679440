"""Servers that speak SQS and S3 on loopback, and engines over them."""
