"""How is ClickHouse reached?"""
