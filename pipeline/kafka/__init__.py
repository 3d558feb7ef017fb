"""How is Kafka reached?"""
