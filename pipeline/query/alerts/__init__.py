"""What do alert rules say, what do they see, and what is stored of them?"""
