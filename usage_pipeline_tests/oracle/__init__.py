"""The sandbox against the vendors themselves: the shapes of their OpenAPI documents, and their own Python clients."""
