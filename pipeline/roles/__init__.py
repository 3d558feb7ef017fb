"""In which order do effects happen? Router, sessionizer, sink and rebuild, without Faust."""
