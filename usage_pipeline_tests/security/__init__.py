"""What SECURITY.md claims, attacked."""
