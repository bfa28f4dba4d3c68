-- Once a month a run changes nearly every lot: with half of each page free, the new version of a row
-- stays on its page and no index has to be touched.
ALTER TABLE billing.lots SET (fillfactor = 50);
