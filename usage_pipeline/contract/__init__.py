"""What every room agrees on: the schema, Vendor and Endpoint, the errors. Imports nothing of ours."""
