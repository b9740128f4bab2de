"""Reading, transforming and drawing pictures and videos."""
