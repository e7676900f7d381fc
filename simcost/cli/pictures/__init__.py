"""Pictures and pages that -o asks for."""
