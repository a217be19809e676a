"""The service's connection to NATS, and its requests of the replicas of longpoll."""
