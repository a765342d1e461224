module github.com/gitops-kit/sdk/git

go 1.26.6
