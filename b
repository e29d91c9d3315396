fastgw 514
fastgw 2
tokio-rt-worker 126
fastgw 36
fastgw 0
