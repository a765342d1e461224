// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball_test

// Digests of layout gkz1. They hold on every machine and with every Go
// release; a change is announced in the changelog with a new layout name.
const (
	goldenEmpty     = "sha256:7dab459006140642cf74dc9ae745ff75f7316863298459486ec8c182700e797d"
	goldenEmptyDiff = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	goldenOne       = "sha256:07a7eefd60f8f7e7dd29085f18f3755b39c68cc1ae7d9e7324b7ebd61945823f"
	goldenXBits     = "sha256:b527401227eeffd9812cfd36ca08e7601bd14b0cbfa254a65f8f8eafe53bf9ce"
	goldenMany      = "sha256:a03b80567fa622651531caef186af2935d985512ae8770f9065bdb9ecb40d8c2"
	goldenLong      = "sha256:821067eeb51510818643169ff2c2daaf045a827e8bee585a1cd555775482b972"
	goldenBinary    = "sha256:90399ae516935a634b24902471164849d671eda254ba07298ad296dc8ac61df3"
)
