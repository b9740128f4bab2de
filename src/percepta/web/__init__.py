"""Local pages: each listens on 127.0.0.1 only. They need `pip install 'percepta[web]'`."""
