# Palette's Terraform provider with an API key out of Vault, by way of the environment:
#
#   ./palette-key.sh terraform init
#   ./palette-key.sh terraform apply -var project=Default
#
# The key is in SPECTROCLOUD_APIKEY and nowhere else: not in this file, in no variable, and
# so neither in the state nor in a plan.

terraform {
  required_providers {
    spectrocloud = {
      source = "spectrocloud/spectrocloud"
    }
  }
}

variable "project" {
  description = "Name of the Palette project to work in."
  type        = string
}

# Without api_key and host the provider takes SPECTROCLOUD_APIKEY and SPECTROCLOUD_HOST.
# The project is named here: a key is good for all that its user may do, in any project.
provider "spectrocloud" {
  project_name = var.project
}

# The least that shows that the key works. Put your own resources in its place.
data "spectrocloud_project" "this" {
  name = var.project
}

output "project_uid" {
  value = data.spectrocloud_project.this.id
}
