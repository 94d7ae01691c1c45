"""The door to deliveries: how far each sink has got; sent again on request.

curl http://127.0.0.1:8000/deliveries
"""
