"""The vendors' APIs as local servers, for the demo and the tests."""
