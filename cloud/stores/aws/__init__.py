"""DynamoDB, S3 and AWS IoT."""
