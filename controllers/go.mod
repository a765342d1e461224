module github.com/gitops-kit/sdk/controllers

go 1.26.6
