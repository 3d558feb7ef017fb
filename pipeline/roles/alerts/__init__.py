"""When does a rule fire, and who is told? Evaluation, judging and delivery, without Faust."""
