variable "name" {
  description = "Name of this instance of the lab."
  type        = string
}

variable "location" {
  description = "Where it stands."
  type        = string
}

variable "path" {
  description = "Absolute path of the directory to make."
  type        = string
}
