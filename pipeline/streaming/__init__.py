"""How does Faust drive a role? Transport, assignment, recovery. Nothing else imports Faust."""
