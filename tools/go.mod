module github.com/gitops-kit/sdk/tools

go 1.26.6
