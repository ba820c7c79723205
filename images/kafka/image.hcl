# The embedded Kafka (franz-go's kfake), a part of labctl: there is no image to pull. Apache Kafka speaks the same protocol elsewhere.
version = "1"
dirs    = ["/data"]
