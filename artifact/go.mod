module github.com/gitops-kit/sdk/artifact

go 1.26.6
